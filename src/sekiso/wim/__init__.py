"""WIM trees as data: read, diff, merge, write; apply and capture through libwim in a worker process."""
