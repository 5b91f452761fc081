"""The examples at the end of each command's help."""

from __future__ import annotations

EXAMPLES: dict[str, tuple[str, ...]] = {
    "reconstruct": (
        "petrt reconstruct low.nii.gz out.nii.gz --std std.nii.gz",
        "petrt reconstruct series/ derived/ --dose 1/20 --report page.html",
        "petrt reconstruct scans/ results/ --dry-run",
    ),
    "demo": ("petrt demo --out demo_output",),
    "evaluate": ("petrt evaluate out.nii.gz full.nii.gz --json numbers.json",),
    "report": ("petrt report scans/ results/",),
    "convert": ("petrt convert series/ suv.nii.gz --suv bw",),
    "inspect": ("petrt inspect demo", "petrt inspect low.nii.gz --json"),
    "bids": (
        "petrt bids study results participant --participant-label 01 02",
        "petrt bids study results group",
    ),
    "node": (
        "petrt node --queue queue/ --port 11112 --allow SCANNER --forward PACS@10.0.0.7:104",
        "petrt node --queue queue/ --dicomweb https://pacs.example/dicom-web --since 7d",
    ),
    "doctor": ("petrt doctor", "petrt doctor --json"),
    "info": ("petrt info --json",),
    "build-engine": (
        "petrt build-engine demo --dry-run",
        "petrt build-engine demo --engine tensorrt-rtx --gpu rtx40,rtx50",
    ),
    "bench": ("petrt bench demo --engine native,onnxruntime --json bench.json",),
    "flops": ("petrt flops demo --size 128x128",),
    "simulate": ("petrt simulate scans/ --subjects 8 --dose 20 --dose 100 --seed 1",),
    "prepare": ("petrt prepare scans/ --out data/ --voxel-mm 2 2 2",),
    "train": (
        "petrt train default --write-config mine.toml",
        "petrt train mine.toml --data data/ --out run/",
        "petrt train mine.toml --data data/ --out run/ --resume",
    ),
    "export": ("petrt export run/ -o model/",),
    "import-official": ("petrt import-official path/to/prefix -o checkpoint/",),
    "calibrate": (
        "petrt calibrate model/ --data data/ --in-place",
        "petrt calibrate model/ --data data/ --check --split test",
    ),
    "phantom": ("petrt phantom report/ --kind head --reduction 50",),
}
