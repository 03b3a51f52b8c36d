# The hooks are shell scripts. Without this azd on Windows would stop with "'run' is required for every hook".
Write-Host "Deploy Droptune from WSL, Linux or macOS: its hooks are shell scripts (docs/how-to/deploy-to-azure.md)."
exit 1
