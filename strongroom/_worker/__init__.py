"""Workers: they claim agent runs and give them to a program's handler."""
