"""Weights of SAM's successors as the hub and the authors ship them: tiny, random."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.sam_family import DATA, family_weights

from sambench.models.sam2 import sam2_weights


def tiny_folder(path: Path, kind: str = "sam2") -> Path:
    """A folder as ``save_pretrained`` writes it, with random weights: 256 pixels, 32 channels."""
    from transformers import Sam2Config, Sam2Model

    config = sam2_weights.Size("", 8, 4, (1, 1, 1, 1), 1, ()).config()
    config["vision_config"] |= {
        "fpn_hidden_size": 32,
        "backbone_feature_sizes": [[64, 64], [32, 32], [16, 16]],
    }
    config["prompt_encoder_config"] = {"hidden_size": 32, "image_size": 256}
    config["mask_decoder_config"] = {"hidden_size": 32, "mlp_dim": 64, "iou_head_hidden_dim": 32}
    torch.manual_seed(0)
    model = Sam2Model(Sam2Config(**{key: value for key, value in config.items() if key != "model_type"}))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape) * 0.3)
        # One matrix, which transformers keeps twice.
        again = model.shared_image_embedding.positional_embedding
        again.copy_(model.prompt_encoder.shared_embedding.positional_embedding)
    model.save_pretrained(path)
    if kind != "sam2":
        config = json.loads((path / "config.json").read_text())
        (path / "config.json").write_text(json.dumps({**config, "model_type": kind}))
    return path


@pytest.fixture(scope="module")
def sam2_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("sam2"))


@pytest.fixture(scope="module")
def sam3_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as the hub has it: a ``sam3_video`` of 112 pixels (8 x 8 patches, logits of 32 x 32), a tokenizer."""
    from safetensors.torch import save_file
    from transformers import Sam3VideoConfig, Sam3VideoModel

    vision = {
        "backbone_config": {
            "model_type": "sam3_vit_model", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
            "num_attention_heads": 2, "image_size": 112, "window_size": 4, "global_attn_indexes": [1],
            "pretrain_image_size": 56,
        },
        "model_type": "sam3_vision_model", "fpn_hidden_size": 32,
        "backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]],
    }  # fmt: skip
    small = {"hidden_size": 32, "num_attention_heads": 2}
    layers = {**small, "num_layers": 1, "intermediate_size": 32}
    detector = {
        "model_type": "sam3",
        "vision_config": vision,
        "text_config": {
            "model_type": "clip_text_model", "vocab_size": 20, "hidden_size": 32, "intermediate_size": 32,
            "projection_dim": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 32,
            "eos_token_id": 1, "bos_token_id": 0, "pad_token_id": 1,
        },
        "geometry_encoder_config": layers, "detr_encoder_config": layers, "mask_decoder_config": small,
        "detr_decoder_config": {**layers, "num_queries": 6},
    }  # fmt: skip
    tracker = {
        "model_type": "sam3_tracker_video",
        "image_size": 112,
        "vision_config": vision,
        "prompt_encoder_config": {"hidden_size": 32, "image_size": 112},
        "mask_decoder_config": {"hidden_size": 32, "mlp_dim": 64, "num_attention_heads": 2, "iou_head_hidden_dim": 32},
        "memory_attention_hidden_size": 32, "memory_attention_num_layers": 1, "memory_encoder_hidden_size": 32,
        "memory_attention_rope_feat_sizes": [8, 8],
    }  # fmt: skip
    torch.manual_seed(0)
    model = Sam3VideoModel(Sam3VideoConfig(detector_config=detector, tracker_config=tracker))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            spread = 0.1 if parameter.ndim == 1 else parameter[0].numel() ** -0.5
            parameter.copy_(torch.randn(parameter.shape) * spread + (parameter.ndim == 1 and name.endswith("weight")))
        again = model.tracker_model.shared_image_embedding.positional_embedding
        again.copy_(model.tracker_model.prompt_encoder.shared_embedding.positional_embedding)
    path = tmp_path_factory.mktemp("sam3")
    model.config.save_pretrained(path)
    save_file({key: value.clone() for key, value in model.state_dict().items()}, path / "model.safetensors")
    words = ["<|startoftext|>", "<|endoftext|>", *"catdogre", *(f"{c}</w>" for c in "catdogre")]
    (path / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (path / "merges.txt").write_text("#version: 0.2\n")
    return path


STORED = np.load(DATA / "sam_hq_expected.npz")


@pytest.fixture(scope="module")
def sam_hq_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sam_hq") / "weights.pth"
    torch.save(family_weights(json.loads(str(STORED["shapes"]))), path)
    return path
