"""Partition tables (MBR, GPT): read, plan, write."""

from sekiso.disks.partitions.plan import PartitionRequest, plan_partitions
from sekiso.disks.partitions.read import read_partition_table
from sekiso.disks.partitions.table import Partition, PartitionTable
from sekiso.disks.partitions.write import (
    BootCode,
    read_boot_code,
    write_boot_code,
    write_partition_table,
)

__all__ = [
    "BootCode",
    "Partition",
    "PartitionRequest",
    "PartitionTable",
    "plan_partitions",
    "read_boot_code",
    "read_partition_table",
    "write_boot_code",
    "write_partition_table",
]
