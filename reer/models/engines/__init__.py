"""Managed vLLM and SGLang servers: started, proved, routed to, restarted and stopped by the run that needs them."""
