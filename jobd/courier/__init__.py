"""Carries notifications out, in a process of its own: what a receiver does to whoever speaks to it, it does
to somebody without rights, and the daemon's event loop knows nothing of TLS."""
