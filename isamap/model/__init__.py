"""Networks, losses, training and prediction. The only user of torch."""
