"""Where layers live: the layer file, the local layer store."""
