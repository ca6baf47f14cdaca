"""Students that give the teacher's reasons as well as its answers."""
