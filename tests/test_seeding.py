from __future__ import annotations

import hashlib

import torch

from ddbench.seeding import derive_seed, generator_for, seeded_globally


def test_a_seed_depends_on_purpose_and_every_part_and_on_where_one_part_ends():
    seeds = {
        derive_seed("a", 1),
        derive_seed("b", 1),
        derive_seed("a", 2),
        derive_seed("a", 1, 2),
        derive_seed("a", 12),
        derive_seed("a"),
    }
    assert len(seeds) == 6
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_a_seed_is_the_same_on_every_machine():
    digest = hashlib.sha256(b"student initialisation\x1f0").digest()
    assert derive_seed("student initialisation", 0) == int.from_bytes(digest[:8], "big") // 2


def test_equal_purposes_draw_equal_numbers():
    assert torch.rand(3, generator=generator_for("x", 1)).equal(torch.rand(3, generator=generator_for("x", 1)))


def test_the_global_generator_is_restored_even_after_an_error():
    before = torch.get_rng_state()
    try:
        with seeded_globally(5):
            first = torch.rand(2)
            raise RuntimeError
    except RuntimeError:
        pass
    assert torch.get_rng_state().equal(before)
    with seeded_globally(5):
        assert torch.rand(2).equal(first)
