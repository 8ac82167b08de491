"""The three reaches of the Yangtze River Economic Belt, the strata of its 1 m map (arXiv 2505.05367).

The division is that of the Belt's development plan of 2016: the upper reaches are Chongqing, Sichuan, Guizhou and
Yunnan, the middle ones Jiangxi, Hubei and Hunan, the lower ones Shanghai, Jiangsu, Zhejiang and Anhui.
"""

from collections.abc import Mapping

REACHES: Mapping[str, str] = {
    "CN050": "upstream",
    "CN051": "upstream",
    "CN052": "upstream",
    "CN053": "upstream",
    "CN036": "midstream",
    "CN042": "midstream",
    "CN043": "midstream",
    "CN031": "downstream",
    "CN032": "downstream",
    "CN033": "downstream",
    "CN034": "downstream",
}
"""Reach of each province by its code in the region tables."""


def reach_of(unit: str) -> str:
    """Reach of a region called `yreb/CN050`, `CN050` or `CN050010`; '' outside the Belt."""
    return REACHES.get(unit.rpartition("/")[2][:5], "")
