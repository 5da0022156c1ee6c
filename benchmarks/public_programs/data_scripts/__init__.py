"""Scripts that make up data with packages of the programs: they run with the programs' Python."""
