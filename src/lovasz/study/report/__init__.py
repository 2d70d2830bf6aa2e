"""Pages and pictures; the only room with templates."""
