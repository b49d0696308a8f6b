"""W&B mirrors the local record; nothing else imports it."""
