"""Layers into disks and disks into layers: plan (pure), then execute; conflicts; capture of changes."""
