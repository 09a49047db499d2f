"""The ways in which a checkpoint's folder can be hostile, each on a tiny checkpoint, and what loading it says."""

import json
import shutil

from tests.model.hostile_changes import (
    INDEX,
    SHARD,
    TOWER,
    Change,
    adapter,
    all_of,
    config,
    edit,
    fifo,
    header,
    link,
    remove,
    sparse,
    tokenizer,
    vision,
    weight_map,
    write,
)

LOADS = None


CODE = 'import os, pathlib\npathlib.Path(os.environ["CANARY"]).touch()\n'
NESTED = "[" * 100_000
REMOTE = {
    "AutoConfig": "evil.C",
    "AutoModel": "evil.M",
    "AutoProcessor": "evil.P",
    "AutoTokenizer": ["evil.T", "evil.T"],
}
ELSEWHERE = {"AutoTokenizer": ["evil/repository--evil.T", None], "AutoProcessor": "evil/repository--evil.P"}
CODE_FILES = all_of(*(write(name, CODE) for name in ("evil.py", "modeling_longva.py", "custom_generate/generate.py")))

ROWS: dict[str, tuple[Change, str | None]] = {
    "unchanged": (all_of(), LOADS),
    # code
    "auto_map in config.json": (all_of(CODE_FILES, config(auto_map=REMOTE)), LOADS),
    "auto_map in tokenizer_config.json": (all_of(CODE_FILES, edit("tokenizer_config.json", auto_map=REMOTE)), LOADS),
    "auto_map instead of a tokenizer_class": (
        all_of(CODE_FILES, write("tokenizer_config.json", json.dumps({"auto_map": REMOTE}))),
        LOADS,
    ),
    "auto_map of another repository": (edit("tokenizer_config.json", auto_map=ELSEWHERE), LOADS),
    "auto_map as text": (edit("tokenizer_config.json", auto_map="evil.T"), LOADS),
    "auto_map in processor_config.json": (
        all_of(CODE_FILES, edit("processor_config.json", auto_map=REMOTE, processor_class="evil.P")),
        LOADS,
    ),
    "auto_map in preprocessor_config.json": (
        all_of(CODE_FILES, edit("preprocessor_config.json", auto_map=REMOTE)),
        LOADS,
    ),
    "auto_map in generation_config.json": (all_of(CODE_FILES, edit("generation_config.json", auto_map=REMOTE)), LOADS),
    "custom_generate": (all_of(CODE_FILES, edit("generation_config.json", custom_generate=".")), LOADS),
    "an attention kernel in config.json": (config(attn_implementation="evil/kernel"), LOADS),
    "an attention kernel, internal": (
        config(_attn_implementation="evil/kernel", _attn_implementation_internal="e/k"),
        LOADS,
    ),
    "an attention kernel of the tower": (
        vision(attn_implementation="evil/kernel", _attn_implementation="evil/kernel"),
        LOADS,
    ),
    "a kernel for experts": (
        config(experts_implementation="evil/kernel", _experts_implementation="evil/kernel"),
        LOADS,
    ),
    "quantisation by a kernel of the Hub": (config(quantization_config={"quant_method": "fp8"}), "quant"),
    "quantisation by remote code": (
        config(quantization_config={"quant_method": "gptq", "bits": 4, "auto_map": REMOTE}),
        "quant",
    ),
    "quantisation as text": (config(quantization_config="evil"), "quant"),
    "quantisation without a method": (config(quantization_config={"bits": 4}), "quant"),
    "weights as a pickle": (
        all_of(remove(INDEX), write("pytorch_model.bin", b"cposix\nsystem\n(S'touch $CANARY'\ntR.")),
        "pytorch_model.bin, a pickle",
    ),
    "weights under another name": (config(transformers_weights="pytorch_model.bin"), LOADS),
    "the tokenizer of another library": (
        edit("tokenizer_config.json", tokenizer_class="MecabTokenizer"),
        "tokenizer_class",
    ),
    "a tokenizer that is a pickle": (
        edit("tokenizer_config.json", tokenizer_class="TransfoXLTokenizer"),
        "tokenizer_class",
    ),
    "a tokenizer class that is a number": (edit("tokenizer_config.json", tokenizer_class=5), "tokenizer_class"),
    "a tokenizer class in config.json": (config(tokenizer_class="MistralCommonBackend"), LOADS),
    "the backend of another library": (edit("tokenizer_config.json", backend="sentencepiece"), LOADS),
    "a chat template that calls Python": (
        write("chat_template.jinja", "{{ ''.__class__.__mro__[1].__subclasses__() }}"),
        LOADS,
    ),
    # places outside the folder
    "a tower in another repository": (
        all_of(lambda folder: shutil.rmtree(folder / "openai"), config(mm_vision_tower="evil/tower")),
        "the shape of the vision tower 'evil/tower' is unknown",
    ),
    "a tower at an address": (config(mm_vision_tower="https://evil.example/tower"), "the shape of the vision tower"),
    "a tower of the system": (config(mm_vision_tower="/proc/self/root/etc"), "the shape of the vision tower"),
    "a tower above the folder": (config(mm_vision_tower="../../../../etc"), "the shape of the vision tower"),
    "a tower that is null": (config(mm_vision_tower=None), "mm_vision_tower"),
    "another model as name_or_path": (config(_name_or_path="evil/model", name_or_path="evil/model"), LOADS),
    "another configuration file": (
        config(configuration_files=["config.1.0.json"], _commit_hash="evil"),
        "config.1.0.json",
    ),
    "a shard above the folder": (weight_map(lm_head__weight="../../../../../../etc/passwd"), "names '../../"),
    "a shard that is absolute": (weight_map(lm_head__weight="/etc/passwd"), "names '/etc/passwd'"),
    "a shard with a control character": (weight_map(lm_head__weight="\x1b[31m\nevil.safetensors"), "names '\\x1b[31m"),
    "a shard that is a list": (weight_map(lm_head__weight=[1]), "names [1]"),
    "a shard that is null": (weight_map(lm_head__weight=None), "names None"),
    "a shard that is a pickle": (
        all_of(weight_map(lm_head__weight="evil.bin"), write("evil.bin", b"pickle")),
        "names 'evil.bin'",
    ),
    "an index that is a list": (write(INDEX, "[]"), "is not a JSON object"),
    "a vocabulary elsewhere": (
        edit("tokenizer_config.json", vocab_file="/dev/stdin", tokenizer_file="/dev/stdin", merges_file="/dev/stdin"),
        LOADS,
    ),
    "another tokenizer.json": (
        edit("tokenizer_config.json", fast_tokenizer_files=["tokenizer.1.0/../../../../etc/passwd.json"]),
        "Invalid version",
    ),
    # files that hang
    **{
        f"a FIFO as {name}": (fifo(name), name)
        for name in ("config.json", "tokenizer.json", INDEX, SHARD, "generation_config.json", "tokenizer_config.json")
    },
    "a FIFO as the chat template": (fifo("chat_template.jinja"), "chat_template.jinja"),
    "a FIFO as further weights": (fifo("model-00009-of-00009.safetensors"), LOADS),
    "a FIFO as the tower's configuration": (fifo(f"{TOWER}/config.json"), f"{TOWER}/config.json"),
    "a FIFO as an adapter": (fifo("adapter_config.json"), "adapter_config.json"),
    "a device as config.json": (link("config.json", "/dev/zero"), "config.json"),
    "a device as weights": (link(SHARD, "/dev/zero"), SHARD),
    "the kernel's log as vocab.json": (link("vocab.json", "/proc/kmsg"), "vocab.json"),
    "a link to itself": (link("merges.txt", "merges.txt"), "merges.txt"),
    # files that are huge or deep
    **{
        f"a huge {name}": (sparse(name, 2**40), f"{name} has 1,099,511,627,776 bytes")
        for name in (
            "config.json",
            "tokenizer.json",
            INDEX,
            "merges.txt",
            "generation_config.json",
            f"{TOWER}/config.json",
        )
    },
    **{
        f"a deep {name}": (write(name, NESTED + "]" * len(NESTED)), name)
        for name in ("config.json", "tokenizer.json", "tokenizer_config.json", INDEX, f"{TOWER}/config.json")
    },
    "a config.json that is not text": (write("config.json", b"\xff\xfe\x00" * 100), "config.json"),
    "a huge number": (
        write("config.json", '{"model_type": "llava_qwen", "hidden_size": 1' + "0" * 9999 + "}"),
        "config.json",
    ),
    # weights
    "a header of 8 EB": (header(b"{}", length=2**63), "its header says"),
    "a header that is the whole file": (
        all_of(header(b"{}", length=2**30 - 8), sparse(SHARD, 2**30)),
        f"{SHARD} is not a safetensors file",
    ),
    "a deep header": (header((NESTED + "]" * len(NESTED)).encode()), f"{SHARD} is not a safetensors file"),
    "a tensor of 8 EB": (
        header(b'{"lm_head.weight": {"dtype": "F32", "shape": [2000000000, 2000000000], "data_offsets": [0, 0]}}'),
        "corrupt",
    ),
    "negative offsets": (header(b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [-4, 0]}}'), "corrupt"),
    "weights without tensors": (header(b"{}"), "have no"),
    # sizes
    **{
        f"{name} = {value!r}": (config(**{name: value}), name)
        for name, values in {
            "num_hidden_layers": (10**8, 10**30, -1, 0, 1.5, "3", True, None, float("nan"), [3]),
            "hidden_size": (2**40, 0, -64, None, 63),
            "intermediate_size": (2**40, -1),
            "num_attention_heads": (2**40, 0, 7),
            "num_key_value_heads": (2**40, 0, 3),
            "head_dim": (2**40, 0, "x"),
            "vocab_size": (2**50, 0),
            "max_position_embeddings": (2**60, 0, -5),
            "rope_theta": (float("nan"), float("inf"), -1.0, 0, "x"),
            "rms_norm_eps": (float("nan"), -1, "x"),
            "initializer_range": (float("nan"), "x"),
            "eos_token_id": ("</s>", [10**12], -5, 1.5),
            "pad_token_id": (10**12, "x"),
            "bos_token_id": (10**12,),
            "image_token_id": (10**12, "x"),
            "hidden_act": ("evil", 5),
            "mm_spatial_pool_stride": (10**9, 4.0, True),
            "mm_vision_select_layer": (10**9, -(10**9), True),
            "image_grid_pinpoints": (
                [[10**9, 10**9]],
                [[56, 56]] * 20_000,
                "[" * 50_000,
                "-" * 50_000 + "1",
                5,
                [[1]],
            ),
            "torch_dtype": ("load", "nonsense", 5),
            "tie_word_embeddings": ("yes",),
            "use_sliding_window": (1,),
            "layer_types": (["evil"] * 3, ["full_attention"] * 100_000, 5),
            "rope_scaling": ({"rope_type": "evil"}, {"rope_type": "dynamic", "factor": 1e300}, 5, []),
        }.items()
        for value in values
    },
    **{
        f"the tower's {name} = {value!r}": (vision(**{name: value}), name)
        for name, values in {
            "num_hidden_layers": (10**8, 0, True, None),
            "hidden_size": (2**40, 0, 31),
            "intermediate_size": (2**40,),
            "num_attention_heads": (2**40, 0, 5),
            "image_size": (2**30, 0, -56, 56.0, [56, 56], None),
            "patch_size": (2**30, 0, None),
            "num_channels": (1, 2**40),
            "hidden_act": ("evil",),
            "layer_norm_eps": (float("nan"),),
        }.items()
        for value in values
    },
    "a tower that is a list": (config(vision_config=[1]), "vision_config"),
    "a large language model": (
        config(hidden_size=65_536, intermediate_size=262_144, num_hidden_layers=200, num_attention_heads=512),
        "config.json",
    ),
    "a billion labels": (config(num_labels=10**9), LOADS),
    "methods as values": (config(to_dict=1, validate=1, get_text_config=1, from_dict=1, __class__=1), LOADS),
    "a configuration per layer": (config(per_layer_config={"0": {"hidden_size": 10**9}}), LOADS),
    "a wide tuple instead of a tensor": (
        config(return_dict=False, output_hidden_states=True, output_attentions=True),
        LOADS,
    ),
    "a generation_config of text": (
        edit("generation_config.json", eos_token_id="x", repetition_penalty="x", max_length=-1, top_p=7),
        "generation_config",
    ),
    "a generation_config that is a list": (write("generation_config.json", "[]"), "generation_config.json"),
    "a repetition penalty of nan": (
        edit("generation_config.json", repetition_penalty=float("nan")),
        "repetition_penalty",
    ),
    "processor sizes": (
        edit("processor_config.json", image_processor={"size": {"height": 10**9}}, video_processor={"size": 10**9}),
        "processor_config.json has height = 1000000000",
    ),
    "processor of text": (
        edit("processor_config.json", image_processor="x", video_processor="y"),
        "processor_config.json",
    ),
    "a mean that is text": (edit(f"{TOWER}/preprocessor_config.json", image_mean="evil"), "image_mean"),
    "a deviation of zero": (edit(f"{TOWER}/preprocessor_config.json", image_std=[0, 0, 0]), "image_std"),
    "a reducing gap of nan": (edit(f"{TOWER}/preprocessor_config.json", reducing_gap=float("nan")), "reducing_gap"),
    "a preprocessor without a size": (write(f"{TOWER}/preprocessor_config.json", "{}"), "size"),
    # tokenizers
    "a regex that never ends": (
        tokenizer(
            "pre_tokenizer",
            {"type": "Split", "pattern": {"Regex": "(\\w+\\s?)+$x"}, "behavior": "Isolated", "invert": False},
        ),
        "tokenizer.json",
    ),
    "text that grows": (
        tokenizer(
            "normalizer",
            {
                "type": "Sequence",
                "normalizers": [{"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 999}] * 9,
            },
        ),
        "tokenizer.json",
    ),
    "an unknown part": (tokenizer("pre_tokenizer", {"type": "Evil"}), "tokenizer.json"),
    "a map that panics": (
        tokenizer("normalizer", {"type": "Precompiled", "precompiled_charsmap": "/////w=="}),
        "tokenizer.json",
    ),
    "a vocabulary smaller than the tokenizer's": (config(vocab_size=100), "it must be from 0 to 99"),
    "a patch of one pixel": (vision(patch_size=1), "patch_embedding"),
    "a token outside the table": (
        edit("tokenizer_config.json", added_tokens_decoder={str(10**9): {"content": "evil", "special": True}}),
        LOADS,
    ),
    "more tokens than rows": (
        edit("tokenizer_config.json", additional_special_tokens=[f"<{number}>" for number in range(99)]),
        "tokenizer",
    ),
    "a vocabulary that is a list": (tokenizer("model", {"type": "BPE", "vocab": [], "merges": []}), "tokenizer.json"),
    # adapters
    "an adapter": (adapter(), LOADS),
    "an adapter for a model of the Hub": (adapter(base_model_name_or_path="evil/model"), "evil/model"),
    "an adapter for itself": (adapter(base_model_name_or_path="."), "has no config.json"),
    "an adapter that imports a module": (
        all_of(adapter(megatron_config={"a": 1}, megatron_core="evil"), CODE_FILES),
        LOADS,
    ),
    "an adapter with a regex": (adapter(target_modules="(.*.*.*.*.*.*.*.*)*x"), LOADS),
    "an adapter with a pattern": (adapter(rank_pattern={"(.*.*.*.*.*.*.*.*)*x": 4}), LOADS),
    "an adapter with a pattern of scales": (adapter(alpha_pattern={"(.*.*.*.*.*.*.*.*)*x": 4}), "alpha_pattern"),
    "an adapter with a pattern of modules": (adapter(modules_to_save=["(.*.*.*.*.*.*)*x"]), "modules_to_save"),
    "an adapter that is a device": (
        all_of(adapter(), link("adapter_model.safetensors", "/dev/zero")),
        "is not a regular",
    ),
    "an adapter of great rank": (adapter(r=10**9), "r = 1000000000"),
    "an adapter of rank nan": (adapter(lora_alpha=float("nan")), "lora_alpha"),
    "an adapter that repeats layers": (adapter(layer_replication=[[0, 3]] * 10**5), LOADS),
    "an adapter that is initialised": (adapter(init_lora_weights="pissa"), LOADS),
    "an adapter of a library": (adapter(auto_mapping={"base_model_class": "M", "parent_library": "evil"}), LOADS),
    "a base with an adapter's configuration": (
        all_of(adapter(), write("base/adapter_config.json", '{"base_model_name_or_path": "evil/model"}')),
        "base has a LoRA adapter",
    ),
}
