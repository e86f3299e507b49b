"""Train again fold by fold, judge what each fold says of the minutes after it, and tell luck from skill."""
