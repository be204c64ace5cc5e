"""Names of our keys in other codes, for hints.

Names of nequip 0.19 (and the older 0.6), mace-torch 0.3, SevenNet 0.13, SchNetPack 2 and metatrain.
"""

from __future__ import annotations

_KEYS = {
    "data.batch_size": "batch_size train_batch_size",
    "data.eval_batch_size": "valid_batch_size validation_batch_size val_batch_size eval_batch_size",
    "data.path": "train_file dataset_file_name train_file_path file_path datapath load_trainset_path training_set",
    "data.val_path": "valid_file val_file_path validation_dataset_file_name load_validset_path validation_set",
    "data.test_path": "test_file test_file_path load_testset_path test_set",
    "data.split.train": "n_train num_train",
    "data.split.val": "n_val num_val valid_fraction",
    "data.split.test": "n_test num_test",
    "data.split.seed": "dataset_seed",
    "data.keys.energy": "energy_key",
    "data.keys.forces": "forces_key force_key",
    "data.keys.stress": "stress_key",
    "data.keys.virial": "virials_key virial_key",
    "data.keys.dipole": "dipole_key",
    "data.num_workers": "num_workers",
    "model.r_max": "r_max cutoff cutoff_radius",
    "model.species": "type_names chemical_symbols chemical_species atomic_numbers atomic_types elements",
    "model.irreps.hidden": "hidden_irreps feature_irreps_hidden num_features num_channels max_L n_atom_basis channel",
    "model.irreps.edge": "edge_irreps irreps_edge_sh max_ell l_max lmax",
    "model.layers.interactions.times": "num_layers num_interactions n_interactions num_convolution_layer",
    "model.layers.radial.num_basis": "num_bessels num_radial_basis num_basis n_rbf bessel_basis_num",
    "model.layers.radial.trainable": "bessel_trainable trainable_bessel",
    "model.layers.radial.envelope": "polynomial_cutoff_p num_cutoff_basis PolynomialCutoff_p",
    "model.layers.first_conv.radial_mlp": (
        "radial_MLP radial_mlp_depth radial_mlp_width invariant_layers invariant_neurons"
    ),
    "model.layers.first_conv.avg_num_neighbors": "avg_num_neighbors",
    "model.outputs.energy.per_species_scale_shift": (
        "E0s per_type_energy_shifts per_type_energy_scales per_species_rescale_shifts per_species_rescale_scales "
        "atomic_energies atomic_baseline scaling shift scale"
    ),
    "task.targets.energy.weight": "energy_weight loss_coeffs energy_loss_weight",
    "task.targets.forces.weight": "forces_weight force_weight force_loss_weight",
    "task.targets.stress.weight": "stress_weight virials_weight stress_loss_weight",
    "task.targets.energy.loss": "loss loss_fn loss_type",
    "task": "compute_stress compute_forces error_table",
    "optimizer.lr": "lr learning_rate",
    "optimizer.weight_decay": "weight_decay",
    "optimizer.amsgrad": "amsgrad",
    "optimizer": "optimizer_name optim",
    "scheduler": "lr_scheduler lr_scheduler_name scheduler_name",
    "scheduler.factor": "lr_factor lr_scheduler_factor",
    "scheduler.patience": "scheduler_patience lr_scheduler_patience",
    "trainer.max_epochs": "max_num_epochs num_epochs epochs epoch",
    "trainer.dtype": "default_dtype model_dtype dtype precision",
    "trainer.accelerator": "device",
    "trainer.ema_decay": "ema use_ema ema_use",
    "trainer.gradient_clip_val": "clip_grad max_gradient_norm grad_clip",
    "trainer.early_stopping_patience": "patience early_stopping_patiences",
    "trainer.check_val_every_n_epoch": "eval_interval",
    "trainer.monitor": "metrics_key",
    "trainer.num_threads": "num_threads",
    "trainer.devices": "num_gpus gpus",
    "folder": "work_dir model_dir results_dir root save_dir output_dir",
    "name": "run_name experiment_name",
    "ckpt=last": "restart_latest restart",
    "init.model": "foundation_model pretrained_model load_model finetune",
    "logger=wandb": "wandb",
    "seed": "random_seed",
}

FOREIGN = {name: key for key, names in _KEYS.items() for name in names.split()}
"""Our key, or our override, for each name in another code."""


def ours(name: str) -> str | None:
    """Return our key for another code's name, with or without leading dashes, or None.

    >>> ours("--E0s"), ours("hidden_irreps"), ours("irreps_out")
    ('model.outputs.energy.per_species_scale_shift', 'model.irreps.hidden', None)
    """
    plain = name.lstrip("-").replace("-", "_")
    lowered = {other.lower(): key for other, key in FOREIGN.items()}
    return FOREIGN.get(plain) or lowered.get(plain.lower())
