"""One bounded HTTP client: errors, retries, rate limits, circuit breaker."""
