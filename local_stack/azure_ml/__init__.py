"""Azure ML on a laptop: an emulator of the control plane that runs jobs and deployments as processes."""
