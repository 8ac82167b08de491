"""What `isamap change` finds out of its maps before it reads any."""
