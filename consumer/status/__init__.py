"""How the service as a whole is: what the command ``status`` shows, whoever runs the members."""
