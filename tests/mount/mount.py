"""Hold a mount by Azure ML's mount runtime, in an environment that has it: `python mount.py FOLDER`.

FOLDER/mnt is a writable mount of FOLDER/source, as a job's ReadWriteMount output is one of a datastore's folder. It
prints `mounted` and unmounts when its input ends.
"""

from __future__ import annotations

import sys
from pathlib import Path

from azureml.dataprep import rslex  # type: ignore[import-not-found, unused-ignore]

folder = Path(sys.argv[1])
for name in ("source", "mnt", "cache"):
    (folder / name).mkdir(parents=True)
# log_folder, instrumentation_key, verbosity, hbi_mode, session_id, caller_session_id, run_info
rslex.init_environment(str(folder / "log"), None, "warn", False, "session", "caller", None)
# max_cache_size, cache_dir_path, required_free_space, allow_other, read_only, permissions, create_destination
options = rslex.PyMountOptions(None, str(folder / "cache"), None, True, False, 0o777, True)
mount = rslex.RslexURIMountContext(str(folder / "mnt"), f"file://{folder / 'source'}", options, True)
mount.start()
print("mounted", flush=True)
sys.stdin.read()
mount.stop()
