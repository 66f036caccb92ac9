"""What a release needs besides its artifacts: versions that agree, notes, the published chart, the plugin, an SBOM."""
