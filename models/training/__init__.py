"""Train one candidate from one data set."""
