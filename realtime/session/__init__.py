"""Sessions: live devices, files at full speed, and recordings played again."""
