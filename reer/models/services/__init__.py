"""Models behind servers: chat services, scoring servers, batch interfaces."""
