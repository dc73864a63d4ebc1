"""RecBole's side of `epoch.py --recbole`: trains one epoch for each line that it is sent.

    PYTHON recbole_peer.py MODEL THREADS clock|processor

PYTHON is that of an environment with RecBole in it, never our own. MODEL is `NeuMF` or `BPR`; the
rows are in `ml-1m/ml-1m.inter` of the working directory. An epoch is the trainer's own
`_train_epoch`, its loader and its negative sampling included, evaluation not. The first line of
output says what was set up, each later one the seconds of an epoch.
"""

import json
import sys
from contextlib import redirect_stdout
from importlib.metadata import version
from pathlib import Path
from time import perf_counter, process_time

import torch
from recbole.config import Config
from recbole.data import create_dataset
from recbole.data.utils import create_samplers, get_dataloader
from recbole.utils import get_model, get_trainer, init_seed

CLOCKS = {"clock": perf_counter, "processor": process_time}
PACKAGES = ("recbole", "torch", "numpy", "scipy", "pandas")
SETTINGS = {
    "seed": 0,
    "use_gpu": False,
    "state": "ERROR",
    "worker": 0,
    "learning_rate": 1e-3,
    "load_col": {"inter": ["user_id", "item_id"]},
    "eval_args": {"split": {"RS": [1, 0, 0]}, "order": "RO", "group_by": None, "mode": "full"},
}
MODELS = {
    # A pointwise batch is counted with its negatives, a pairwise one without.
    "NeuMF": {
        "train_batch_size": 2048,
        "mf_embedding_size": 32,
        "mlp_embedding_size": 128,
        "mlp_hidden_size": [128, 64, 32],
        "dropout_prob": 0.0,
    },
    "BPR": {"train_batch_size": 1024, "embedding_size": 32},
}


def main() -> None:
    """Set up, say so, and train on demand; RecBole's own output goes to standard error."""
    name, threads, clock = sys.argv[1], int(sys.argv[2]), CLOCKS[sys.argv[3]]
    sys.argv = sys.argv[:1]  # which it would parse
    answers = sys.stdout
    with redirect_stdout(sys.stderr):
        trainer, loader = set_up(name, threads)
        print(json.dumps(counts(trainer, loader)), file=answers, flush=True)
        for epoch, _ in enumerate(sys.stdin):
            started = clock()
            trainer._train_epoch(loader, epoch)
            print(clock() - started, file=answers, flush=True)


def set_up(name: str, threads: int) -> tuple:
    """Trainer and training loader, as RecBole's own quick start makes them."""
    settings = {"data_path": str(Path.cwd()), **SETTINGS, **MODELS[name]}
    config = Config(model=name, dataset="ml-1m", config_dict=settings)
    init_seed(config["seed"], config["reproducibility"])
    torch.set_num_threads(threads)
    dataset = create_dataset(config)
    built = dataset.build()
    sampler, _, _ = create_samplers(config, dataset, built)
    loader = get_dataloader(config, "train")(config, built[0], sampler, shuffle=config["shuffle"])
    model = get_model(config["model"])(config, loader.dataset).to(config["device"])
    return get_trainer(config["MODEL_TYPE"], config["model"])(config, model), loader


def counts(trainer, loader) -> dict:
    """What an epoch consists of, counted by going through one, and what it is computed with."""
    pairs = [len(batch) * (1 + ("neg_item_id" in batch)) for batch in loader]
    return {
        "steps": len(pairs),
        "pairs": sum(pairs),
        "pairs_in_a_batch": pairs[0],
        "parameters": sum(weight.numel() for weight in trainer.model.parameters()),
        "threads": torch.get_num_threads(),
        "versions": {name: version(name) for name in PACKAGES},
    }


if __name__ == "__main__":
    main()
