"""Where the clusters of an attribute lie: mapping pairs."""

from __future__ import annotations

from typing import NamedTuple

#: Cluster number of an extent that has no clusters: it reads as zeros.
HOLE = -1
#: No NTFS attribute can be longer.
MAX_VCN = 1 << 51


class Extent(NamedTuple):
    """Clusters that follow each other both in the attribute and on the volume.

    Attributes:
        vcn: first cluster, counted in the attribute.
        lcn: first cluster, counted on the volume; `HOLE` for none.
        clusters: how many.
    """

    vcn: int
    lcn: int
    clusters: int


def decode_mapping_pairs(pairs: bytes, first_vcn: int, cluster_count: int) -> list[Extent]:
    """Decode the mapping pairs of one attribute record.

    Args:
        pairs: from the first pair on; what follows the end mark is ignored.
        first_vcn: lowest VCN of the attribute record.
        cluster_count: clusters of the volume.

    Returns:
        The extents in order.

    Raises:
        ValueError: the pairs are not well formed or leave the volume; the text says how.

    Source: Linux-NTFS documentation, "Data runs".
    """
    extents: list[Extent] = []
    vcn, lcn, at, end = first_vcn, 0, 0, len(pairs)
    while at < end and pairs[at]:
        length_bytes, offset_bytes = pairs[at] & 15, pairs[at] >> 4
        at += 1
        if (
            length_bytes == 0
            or length_bytes > 8
            or offset_bytes > 8
            or at + length_bytes + offset_bytes > end
        ):
            raise ValueError("A mapping pair is cut off or has an impossible length.")
        count = int.from_bytes(pairs[at : at + length_bytes], "little", signed=True)
        at += length_bytes
        if count <= 0 or vcn + count > MAX_VCN:
            raise ValueError(f"An extent of {count} clusters is not possible.")
        if offset_bytes:
            lcn += int.from_bytes(pairs[at : at + offset_bytes], "little", signed=True)
            at += offset_bytes
            if lcn < 0 or lcn + count > cluster_count:
                raise ValueError(f"An extent lies outside the volume: {count} clusters from cluster {lcn}.")
            extents.append(Extent(vcn, lcn, count))
        else:
            extents.append(Extent(vcn, HOLE, count))
        vcn += count
    return extents
