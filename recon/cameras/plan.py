"""Contains the plan of a job before it begins: photos, pairs, seconds and memory, and the refusal of what cannot fit."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch

from recon.cameras.pairing import ALL_UP_TO, PairChoice
from recon.errors import ReconError

# core seconds of a view and of a pair, of matching and cameras; measured: 8 photos of 1024 x 683 (28 pairs) 20 to 29, 50 of 640 x 480 (240) 115
CPU_VIEW, CPU_PAIR, CPU_START = 1.2, 0.35, 3.0
GPU_VIEW, GPU_PAIR, GPU_START = 0.06, 0.02, 1.0  # wall-clock seconds: what a card is expected to take
MOST_CORES = 8.0  # more do not help
VIEW_BYTES, PAIR_BYTES, START_BYTES = 60e6, 0.6e6, 0.9e9  # the same jobs: 1.2 and 3.4 GiB
PAIRS_A_VIEW = {"auto": 5.0, "sequence": 5.5}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a job will take, about."""

    photos: int
    pairs: int
    seconds: float
    gibibytes: float

    def line(self) -> str:
        """The plan in words."""
        time = f"{self.seconds:.0f} s" if self.seconds < 120 else f"{self.seconds / 60:.0f} minutes"
        return f"{self.photos} photos, {self.pairs} pairs: about {time} and {self.gibibytes:.1f} GiB for the cameras"


def plan_work(photos: int, choice: PairChoice, device: str) -> Plan:
    """The plan for so many photos on a device."""
    every = photos * (photos - 1) // 2
    pairs = every if choice == "all" or photos <= ALL_UP_TO else min(every, round(PAIRS_A_VIEW[choice] * photos))
    if device.startswith("cuda"):
        seconds = GPU_START + GPU_VIEW * photos + GPU_PAIR * pairs
    else:
        seconds = CPU_START + (CPU_VIEW * photos + CPU_PAIR * pairs) / min(os.cpu_count() or 1, MOST_CORES)
    return Plan(photos=photos, pairs=pairs, seconds=seconds, gibibytes=(START_BYTES + VIEW_BYTES * photos + PAIR_BYTES * pairs) / 2**30)


def refuse_too_large(plan: Plan, available: float | None) -> None:
    """Raises ReconError for a plan that needs more memory than there is (GiB; None where nobody knows)."""
    if available is not None and plan.gibibytes > available:
        raise ReconError(
            f"{plan.photos} photos with {plan.pairs} pairs need about {plan.gibibytes:.1f} GiB, and {available:.1f} are free; give fewer photos"
            + (", or --pairs auto" if plan.pairs > 6 * plan.photos else "")
        )


def fitting_plan(photos: int, choice: PairChoice, device: str) -> Plan:
    """The plan for so many photos on a device. Raises ReconError where its memory is not free."""
    plan = plan_work(photos, choice, device)
    refuse_too_large(plan, free_gibibytes(device))
    return plan


def free_gibibytes(device: str) -> float | None:
    """Memory that is free for the job: the machine's, or the card's where that is less; None where the system does not tell."""
    try:
        with open("/proc/meminfo") as stream:
            facts = dict(line.split(":", 1) for line in stream)
        free = int(facts["MemAvailable"].split()[0]) / 2**20
    except (OSError, KeyError, ValueError):
        return None
    return min(free, torch.cuda.mem_get_info(device)[0] / 2**30) if device.startswith("cuda") else free
