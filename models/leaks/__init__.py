"""What would show that a data set or a training knows the future, and planted leaks that must be seen."""
