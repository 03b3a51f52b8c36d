"""Start self-test of a training machine: does what a job needs work here?

    python -m training_job.selftest [--require-cuda]

Prints one JSON line and exits with 0, or with the exit code of class platform and the reason. Training and
evaluation do the same before they work.
"""

import argparse
import json
import sys

from shared.domain.errors import FailureClass, PermanentFailure
from shared.domain.recipe import ResolvedRecipe
from training_job.job import runtime
from training_job.job.processes import importing
from training_job.job.runtime import work_offline

MAX_ERROR = 0.15  # NF4 in blocks of 64 loses about a tenth of a normal weight's standard deviation


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--require-cuda", action="store_true", help="fail on a machine without a GPU")
    arguments = parser.parse_args(argv)
    work_offline()
    try:
        report = check(require_cuda=arguments.require_cuda)
    except PermanentFailure as failure:
        print(failure, file=sys.stderr, flush=True)
        return runtime.EXIT_CODES[failure.failure_class]
    print(json.dumps(report), flush=True)
    return runtime.COMPLETED


def check_machine(recipe: ResolvedRecipe) -> None:
    """Test what the recipe's base needs; imports torch. Raises PermanentFailure (platform), `self_test_failed`."""
    needs_gpu = recipe.entry.accelerator == "gpu"
    report = check(require_cuda=needs_gpu, compute_dtype=recipe.hyperparameters.compute_dtype)
    print(f"self-test: {report}", flush=True)


def check(*, require_cuda: bool, compute_dtype: str = "float32") -> dict[str, object]:
    """Device, dtype, a 4-bit round trip. Raises PermanentFailure of class platform, `self_test_failed`."""
    try:
        return _report(require_cuda, compute_dtype)
    except Exception as error:  # a driver, a kernel or a library fails in ways of its own
        message = f"{type(error).__name__}: {error}"[:500]
        raise PermanentFailure(FailureClass.PLATFORM, "self_test_failed", message) from error


def _report(require_cuda: bool, compute_dtype: str) -> dict[str, object]:
    with importing():
        import bitsandbytes.functional as bnb
        import torch

    cuda = torch.cuda.is_available()
    if require_cuda and not cuda:
        raise RuntimeError("no CUDA device; is the driver older than the image's CUDA?")
    bfloat16 = torch.cuda.is_bf16_supported(including_emulation=False) if cuda else True
    if compute_dtype == "bfloat16" and not bfloat16:
        raise RuntimeError(f"{torch.cuda.get_device_name(0)} has no bfloat16, in which the recipe computes")
    device = "cuda" if cuda else "cpu"
    weights = torch.randn(256, 256, generator=torch.Generator().manual_seed(0)).to(device)
    packed, state = bnb.quantize_4bit(weights, quant_type="nf4", compress_statistics=True)
    error = (bnb.dequantize_4bit(packed, state) - weights).std().item()
    if not error < MAX_ERROR:
        raise RuntimeError(f"a 4-bit round trip is off by {error:.3f} standard deviations")
    return {
        "device": torch.cuda.get_device_name(0) if cuda else "cpu",
        "bfloat16": bfloat16,
        "four_bit_error": round(error, 4),
        "torch": torch.__version__,
    }


if __name__ == "__main__":
    sys.exit(main())
