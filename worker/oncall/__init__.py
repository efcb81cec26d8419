"""What people on call use: the command line, its tables, and what its commands do on a cluster."""
