"""How a bundle comes to be: recordings, features, networks, fit, evaluation, export. Never imported by a process that serves."""
