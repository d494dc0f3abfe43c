"""Tiny random detectors and segmenters, saved on disk in the format of the published ones."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from tests.models.image_models import tiny_vocabulary

WORDS = ("knife", "blade", "cup", "handle", "bottle", "a", "photo", "of")


def stir(model: nn.Module, amount: float = 0.1, seed: int = 0) -> nn.Module:
    """Fresh biases and norms are all zeros and ones, which hide mistakes."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(amount * torch.randn(weight.shape, generator=generator))
    return model.eval()


def picture(height=60, width=90, seed=0) -> np.ndarray:
    """Smooth blobs of colour, so that random networks answer with more than noise."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.uniform(0, 255, (1, 3, 6, 9)))
    fine = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 255)
    return fine[0].permute(1, 2, 0).numpy().astype(np.uint8)


def save_grounding_dino(folder: Path) -> Path:
    from transformers import (
        BertConfig,
        BertTokenizer,
        GroundingDinoConfig,
        GroundingDinoForObjectDetection,
        GroundingDinoImageProcessor,
        GroundingDinoProcessor,
        SwinConfig,
    )

    torch.manual_seed(0)
    swin = SwinConfig(
        image_size=64, embed_dim=16, depths=[1, 1, 1, 1], num_heads=[1, 2, 4, 8], window_size=4,
        out_features=["stage2", "stage3", "stage4"],
    )  # fmt: skip
    vocabulary = bert_vocabulary()
    bert = BertConfig(
        vocab_size=len(vocabulary), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32
    )
    config = GroundingDinoConfig(
        backbone_config=swin, text_config=bert, d_model=32, encoder_layers=1, decoder_layers=2,
        encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=32, decoder_ffn_dim=32, num_queries=20,
        num_feature_levels=3, encoder_n_points=2, decoder_n_points=2, max_text_len=24,
    )  # fmt: skip
    stir(GroundingDinoForObjectDetection(config)).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    tokenizer = BertTokenizer(str(folder / "vocab.txt"))
    pictures = GroundingDinoImageProcessor(size={"shortest_edge": 64, "longest_edge": 96})
    GroundingDinoProcessor(pictures, tokenizer).save_pretrained(folder)
    return folder


def bert_vocabulary() -> list[str]:
    """BERT's ids of the special tokens, which Grounding DINO's code knows by number."""
    vocabulary = [f"[unused{number}]" for number in range(1030)]
    special = {0: "[PAD]", 100: "[UNK]", 101: "[CLS]", 102: "[SEP]", 103: "[MASK]", 1012: ".", 1029: "?"}
    for number, token in special.items():
        vocabulary[number] = token
    return [*vocabulary, *WORDS]


def clip_tokenizer(length: int = 32):
    from transformers import CLIPTokenizer

    letters = [*"abcdefghijklmnopqrstuvwxyz0123456789"]
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(
        vocab={token: number for number, token in enumerate(tokens)}, merges=[], model_max_length=length
    )


def save_owl(folder: Path, kind: str = "Owlv2") -> Path:
    import transformers

    torch.manual_seed(0)
    tower = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2}
    config = getattr(transformers, f"{kind}Config")(
        text_config={**tower, "num_hidden_layers": 2, "vocab_size": 74, "max_position_embeddings": 32,
                     "bos_token_id": 72, "eos_token_id": 73, "pad_token_id": 0},
        vision_config={**tower, "num_hidden_layers": 2, "image_size": 64, "patch_size": 16},
        projection_dim=32,
    )  # fmt: skip
    model = stir(getattr(transformers, f"{kind}ForObjectDetection")(config), 0.02)
    with torch.no_grad():  # as they come, most boxes are a line
        model.box_head.dense2.weight.mul_(0.05)
    model.save_pretrained(folder)
    pictures = getattr(transformers, f"{kind}ImageProcessor")(size={"height": 64, "width": 64})
    getattr(transformers, f"{kind}Processor")(pictures, clip_tokenizer()).save_pretrained(folder)
    return folder


def tiny_sam():
    """segment-anything's network, 128 pixels wide, with everything that its large brothers have."""
    from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer

    torch.manual_seed(0)
    sam = Sam(
        image_encoder=ImageEncoderViT(
            img_size=128, patch_size=16, embed_dim=32, depth=3, num_heads=2, mlp_ratio=4, out_chans=32,
            norm_layer=partial(nn.LayerNorm, eps=1e-6), use_rel_pos=True, window_size=3, global_attn_indexes=(1,),
        ),
        prompt_encoder=PromptEncoder(32, (8, 8), (128, 128), 8),
        mask_decoder=MaskDecoder(
            transformer_dim=32, transformer=TwoWayTransformer(depth=2, embedding_dim=32, num_heads=8, mlp_dim=64),
            iou_head_hidden_dim=24,
        ),
        pixel_mean=[123.675, 116.28, 103.53],
        pixel_std=[58.395, 57.12, 57.375],
    )  # fmt: skip
    return stir(sam)


def save_sam(path: Path):
    """A checkpoint as the authors publish theirs: a plain dictionary of tensors."""
    sam = tiny_sam()
    torch.save(sam.state_dict(), path)
    return sam


def save_sam_hf(folder: Path) -> Path:
    from transformers import SamConfig, SamImageProcessor, SamModel, SamProcessor

    torch.manual_seed(0)
    config = SamConfig(
        vision_config={
            "hidden_size": 32, "output_channels": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
            "image_size": 64, "patch_size": 16, "global_attn_indexes": [1], "window_size": 2, "mlp_dim": 64,
            "num_pos_feats": 8,
        },
        prompt_encoder_config={
            "hidden_size": 16, "image_size": 64, "patch_size": 16, "mask_input_channels": 4,
        },
        mask_decoder_config={
            "hidden_size": 16, "mlp_dim": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
            "iou_head_hidden_dim": 16, "iou_head_depth": 2,
        },
    )  # fmt: skip
    stir(SamModel(config)).save_pretrained(folder)
    pictures = SamImageProcessor(
        size={"longest_edge": 64}, pad_size={"height": 64, "width": 64}, mask_size={"longest_edge": 16},
        mask_pad_size={"height": 16, "width": 16},
    )  # fmt: skip
    SamProcessor(pictures).save_pretrained(folder)
    return folder


def sam2_parts():
    hiera = {
        "hidden_size": 8, "num_attention_heads": 1, "image_size": [64, 64], "blocks_per_stage": [1, 1, 2, 1],
        "embed_dim_per_stage": [8, 16, 32, 64], "num_attention_heads_per_stage": [1, 2, 2, 2],
        "window_size_per_stage": [4, 2, 4, 2], "global_attention_blocks": [3],
        "window_positional_embedding_background_size": [2, 2], "model_type": "sam2_hiera_det_model",
    }  # fmt: skip
    vision = {
        "backbone_config": hiera, "backbone_channel_list": [64, 32, 16, 8],
        "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]], "fpn_hidden_size": 32,
    }  # fmt: skip
    prompts = {"hidden_size": 32, "image_size": 64, "patch_size": 16, "mask_input_channels": 4}
    decoder = {
        "hidden_size": 32, "mlp_dim": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "iou_head_hidden_dim": 16,
        "iou_head_depth": 2,
    }  # fmt: skip
    return {"vision_config": vision, "prompt_encoder_config": prompts, "mask_decoder_config": decoder}


def save_sam2(folder: Path) -> Path:
    from transformers import Sam2Config, Sam2Model

    torch.manual_seed(0)
    stir(Sam2Model(Sam2Config(**sam2_parts()))).save_pretrained(folder)
    return folder


def sam3_parts():
    tower = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2}
    vit = {
        **tower, "num_hidden_layers": 2, "image_size": 112, "patch_size": 14, "window_size": 4,
        "global_attn_indexes": [1], "pretrain_image_size": 56, "model_type": "sam3_vit_model",
    }  # fmt: skip
    vision = {"backbone_config": vit, "fpn_hidden_size": 32, "backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]]}
    block = {**tower, "num_layers": 1}
    detector = {
        "vision_config": vision,
        "text_config": {**tower, "num_hidden_layers": 2, "vocab_size": 74, "max_position_embeddings": 32,
                        "projection_dim": 32, "bos_token_id": 72, "eos_token_id": 73, "pad_token_id": 73},
        "geometry_encoder_config": block, "detr_encoder_config": block,
        "detr_decoder_config": {**block, "num_queries": 10},
        "mask_decoder_config": {**tower, "num_upsampling_stages": 2},
    }  # fmt: skip
    return detector, vision


def save_sam3(folder: Path) -> Path:
    """Detector and tracker in one folder, as they are published."""
    from safetensors.torch import save_file
    from transformers import Sam3VideoConfig, Sam3VideoModel

    detector, vision = sam3_parts()
    prompts = {"hidden_size": 32, "image_size": 112, "patch_size": 14, "mask_input_channels": 4}
    decoder = sam2_parts()["mask_decoder_config"]
    tracker = {
        "vision_config": vision, "prompt_encoder_config": prompts, "mask_decoder_config": decoder, "image_size": 112,
        "memory_attention_hidden_size": 32, "memory_attention_num_layers": 1,
        "memory_attention_feed_forward_hidden_size": 32, "memory_attention_rope_feat_sizes": [8, 8],
        "memory_encoder_hidden_size": 32, "memory_encoder_output_channels": 16,
        "mask_downsampler_embed_dim": 32, "memory_fuser_embed_dim": 32, "memory_fuser_intermediate_dim": 32,
        "memory_fuser_num_layers": 1,
    }  # fmt: skip
    torch.manual_seed(0)
    config = Sam3VideoConfig(detector_config=detector, tracker_config=tracker)
    model = stir(Sam3VideoModel(config))
    folder.mkdir(parents=True, exist_ok=True)
    config.save_pretrained(folder)
    # Not save_pretrained, which puts the tracker's prefix twice (transformers 5.23).
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    clip_tokenizer().save_pretrained(folder)
    return folder


def tiny_text_tower() -> dict[str, torch.Tensor]:
    """Random weights of a text tower, by the names that VLPart's checkpoints have."""
    torch.manual_seed(0)
    width, block = 16, "transformer.resblocks.0"
    shapes = {
        "token_embedding.weight": (len(tiny_vocabulary()), width), "positional_embedding": (16, width),
        "ln_final.weight": (width,), "ln_final.bias": (width,), "text_projection": (width, 12),
        f"{block}.attn.in_proj_weight": (3 * width, width), f"{block}.attn.in_proj_bias": (3 * width,),
        f"{block}.attn.out_proj.weight": (width, width), f"{block}.attn.out_proj.bias": (width,),
        f"{block}.ln_1.weight": (width,), f"{block}.ln_1.bias": (width,),
        f"{block}.ln_2.weight": (width,), f"{block}.ln_2.bias": (width,),
        f"{block}.mlp.c_fc.weight": (4 * width, width), f"{block}.mlp.c_fc.bias": (4 * width,),
        f"{block}.mlp.c_proj.weight": (width, 4 * width), f"{block}.mlp.c_proj.bias": (width,),
    }  # fmt: skip
    return {f"text_encoder.{name}": torch.randn(shape) for name, shape in shapes.items()}
