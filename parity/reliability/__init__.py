"""What a reader must be able to trust, tried out: killing, damaging, fuzzing, bad places."""
