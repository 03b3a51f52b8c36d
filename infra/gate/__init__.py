"""What `make check` holds the infrastructure to: it parses, it keeps our rules, checkov has nothing new to say."""
