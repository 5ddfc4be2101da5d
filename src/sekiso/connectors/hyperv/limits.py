"""Numbers that Hyper-V allows.

Source: Microsoft, "Plan for Hyper-V scalability in Windows Server" (2016 to 2022): virtual processors 64 for
generation 1 and 240 for generation 2; memory 1 TB for generation 1 and 12 TB for generation 2. Windows Server
2025 allows more in generation 2; the smaller number holds on every version. Memory must be a multiple of
2 MB ("The memory value assigned is not properly aligned": kubernetes/minikube issue 6973; "Hyper-V only
supports 2MB aligned memory sizes": microsoft/hcsshim pull request 589). The least memory is 32 MB, the
value at which Hyper-V Manager and Packer's Hyper-V builders begin.
"""

from __future__ import annotations

from sekiso.model.machine import Generation

CPUS_OF_GENERATION = {Generation.ONE: 64, Generation.TWO: 240}
MEMORY_MB_OF_GENERATION = {Generation.ONE: 1 << 20, Generation.TWO: 12 << 20}
MAX_CPUS = max(CPUS_OF_GENERATION.values())
MIN_MEMORY_MB = 32
MAX_MEMORY_MB = max(MEMORY_MB_OF_GENERATION.values())
MEMORY_STEP_MB = 2
#: 1 PB: larger than any volume of a Hyper-V server, small enough to count in bytes anywhere.
MAX_CACHE_GB = 1 << 20
MAX_NAME_CHARS = 64
