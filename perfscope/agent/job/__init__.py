"""The processes of a job, their roles and their ranks."""
