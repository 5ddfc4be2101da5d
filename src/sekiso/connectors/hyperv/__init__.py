"""The connector for Microsoft Hyper-V, and for QEMU hosts, which have the same machine model."""
