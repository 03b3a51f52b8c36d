"""What `make check` holds the infrastructure to: it parses, it keeps our rules, checkov reports nothing new."""
