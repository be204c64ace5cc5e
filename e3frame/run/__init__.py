"""One run from its start to its report: folder, data, start or resume, training, errors, figures."""
