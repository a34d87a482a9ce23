"""What the methods of echocardiography share: the scan line and the motion image along it."""
