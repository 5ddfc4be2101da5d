"""VHDX, Hyper-V's disk format. Source: [MS-VHDX], Virtual Hard Disk v2 (VHDX) File Format."""
