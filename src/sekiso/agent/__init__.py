"""What acts on the hypervisor's machine for the appliance: machines that package and machines that prove."""
