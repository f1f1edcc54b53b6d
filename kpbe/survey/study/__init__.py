"""What raters see: the design, the orders, the videos."""
