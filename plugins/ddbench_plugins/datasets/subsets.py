"""The ten-class ImageNet subsets of GLaD and its successors, by WordNet id in the order of their labels.

GLaD's released configuration lists ImageNet-1k class indices; an index is the position of a class folder's name among
the 1000 sorted ones. The ids themselves are kept here, so that a folder with only the ten classes serves as well.
"""

from __future__ import annotations

SUBSETS: dict[str, tuple[str, str]] = {
    "imagenette": (
        "easily told apart",
        "n01440764 n02102040 n02979186 n03000684 n03028079 n03394916 n03417042 n03425413 n03445777 n03888257",
    ),
    "imagewoof": ("dogs", "n02096294 n02093754 n02111889 n02088364 n02086240 n02089973 n02087394 n02115641 n02099601 n02105641"),
    "imagefruit": ("fruits", "n07753275 n07753592 n07745940 n07747607 n07749582 n07768694 n07753113 n07720875 n07718472 n07742313"),
    "imageyellow": (
        "yellow things",
        "n02206856 n12057211 n07753592 n07749582 n12144580 n04146614 n03530642 n02129165 n01773157 n01531178",
    ),
    "imagemeow": ("cats", "n02123045 n02123159 n02123394 n02123597 n02124075 n02129165 n02129604 n02128925 n02128757 n02127052"),
    "imagesquawk": ("birds", "n01806143 n02007558 n01818515 n02051845 n02056570 n01614925 n01843383 n01518878 n01860187 n01819313"),
    "imagenet-geo": (
        "landscapes",
        "n09472597 n09193705 n09332890 n09288635 n09256479 n09421951 n09399592 n09428293 n09246464 n09468604",
    ),
    "imagenet-food": (
        "food",
        "n07697313 n07697537 n07695742 n07873807 n07684084 n07614500 n07583066 n07831146 n07693725 n07613480",
    ),
    "imagenet-mammals": (
        "mammals",
        "n02504458 n02509815 n02437312 n02391049 n02364673 n01877812 n01873310 n02120079 n02346627 n02480855",
    ),
    "imagenet-marine": (
        "sea animals",
        "n02071294 n01484850 n02655020 n02317335 n01664065 n02077923 n01910747 n01914609 n01978455 n02606052",
    ),
    "imagenet-a": (
        "GLaD's subset A",
        "n02111129 n02489166 n11879895 n02457408 n03042490 n12057211 n02342885 n03447447 n02071294 n02013706",
    ),
    "imagenet-b": (
        "GLaD's subset B",
        "n02006656 n06359193 n01820546 n02116738 n13044778 n04487081 n01872401 n02112018 n03841143 n02025239",
    ),
    "imagenet-c": (
        "GLaD's subset C",
        "n03393912 n01833805 n03344393 n03208938 n01828970 n02606052 n02129165 n02017213 n02280649 n01531178",
    ),
    "imagenet-d": (
        "GLaD's subset D",
        "n01518878 n02111889 n01534433 n02112706 n01592084 n02389026 n02276258 n01622779 n01829413 n02277742",
    ),
    "imagenet-e": (
        "GLaD's subset E",
        "n04277352 n01843383 n01860187 n02056570 n03992509 n03924679 n04153751 n01774750 n03857828 n02281787",
    ),
}
"""By dataset name: what the classes are, and their ids."""
