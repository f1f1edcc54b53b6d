"""What every room stands on: whole files and fingerprints, work that resumes, processes, devices."""
