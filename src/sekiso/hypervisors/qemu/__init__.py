"""The QEMU driver: Hyper-V's machine model on a Linux host, everything kept in files at a storage path."""
