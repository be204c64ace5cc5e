"""Files of users: read within limits and with the place of each value; written so that nothing is lost."""
