"""OCPP 1.6, 2.0.1 and 2.1.

>>> from evproto.ocpp import v16
>>> from evproto.ocppj import Call
>>> boot = v16.messages.BootNotificationRequest(charge_point_vendor="ACME", charge_point_model="One")
>>> v16.codec.encode(Call(unique_id="19", payload=boot))
b'[2,"19","BootNotification",{"chargePointVendor":"ACME","chargePointModel":"One"}]'
>>> v16.codec.decode(_).payload.charge_point_vendor
'ACME'
"""
